"""The packets' layout as an XTCE 1.2 database (OMG formal/2020-02-01), for mission-control software.

What consumers differ in: the container of the primary header is abstract, so that an APID that is not described is not
mistaken for a packet without data; floats are ``IEEE754_1985``, the only name that all of them know.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from firmware_bridge.telemetry import PacketLayout, PlainField

NAMESPACE = "http://www.omg.org/spec/XTCE/20180204"
SCHEMA = "https://www.omg.org/spec/XTCE/20180204/SpaceSystem.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
HEADER_FIELDS = (
    ("VERSION", 3, "packet version, 0"),
    ("TYPE", 1, "0 telemetry, 1 telecommand"),
    ("SEC_HDR_FLG", 1, "secondary header, 0: there is none"),
    ("PKT_APID", 11, "which kind of packet"),
    ("SEQ_FLGS", 2, "3: the whole packet"),
    ("SRC_SEQ_CTR", 14, "counts the packets of this APID"),
    ("PKT_LEN", 16, "bytes after the primary header, less one"),
)
_HEADER_CONTAINER = "CCSDSPacket"


def xtce(layouts: Sequence[PacketLayout]) -> str:
    """Give the database of these packets as an XML document."""
    ET.register_namespace("xtce", NAMESPACE)
    ET.register_namespace("xsi", _INSTANCE)
    system = ET.Element(_tag("SpaceSystem"), {"name": "flightnode"})
    system.set(f"{{{_INSTANCE}}}schemaLocation", f"{NAMESPACE} {SCHEMA}")
    _child(system, "Header", version="1.0", date="2026-01-01", validationStatus="Working")
    telemetry = _child(system, "TelemetryMetaData")
    types = _child(telemetry, "ParameterTypeSet")
    parameters = _child(telemetry, "ParameterSet")
    containers = _child(telemetry, "ContainerSet")
    _describe_header(types, parameters, containers)
    for layout in layouts:
        _describe(layout, types, parameters, containers)
    ET.indent(system)
    return ET.tostring(system, encoding="unicode", xml_declaration=True) + "\n"


def _describe_header(types: ET.Element, parameters: ET.Element, containers: ET.Element) -> None:
    entries = _entries(containers, _HEADER_CONTAINER, "The primary header of every packet.", abstract="true")
    for name, bits, meaning in HEADER_FIELDS:
        _integer(types, f"{name}_Type", bits, "", meaning)
        _parameter(parameters, name, meaning)
        _child(entries, "ParameterRefEntry", parameterRef=name)


def _describe(layout: PacketLayout, types: ET.Element, parameters: ET.Element, containers: ET.Element) -> None:
    entries = _entries(containers, layout.name, layout.meaning)
    for field in layout.fields:
        name = f"{layout.name}_{field.name}"
        _field_type(types, f"{name}_Type", field)
        _parameter(parameters, name, field.meaning)
        _child(entries, "ParameterRefEntry", parameterRef=name)
    base = _child(containers[-1], "BaseContainer", containerRef=_HEADER_CONTAINER)
    criteria = _child(base, "RestrictionCriteria")
    _child(criteria, "Comparison", parameterRef="PKT_APID", value=str(layout.apid), useCalibratedValue="false")


def _entries(containers: ET.Element, name: str, meaning: str, **attributes: str) -> ET.Element:
    container = _child(containers, "SequenceContainer", name=name, shortDescription=meaning, **attributes)
    return _child(container, "EntryList")


def _parameter(parameters: ET.Element, name: str, meaning: str) -> None:
    _child(parameters, "Parameter", name=name, parameterTypeRef=f"{name}_Type", shortDescription=meaning)


def _field_type(types: ET.Element, name: str, field: PlainField) -> None:
    if field.kind == "f32":
        element = _child(types, "FloatParameterType", name=name, sizeInBits="32")
        _units(element, field.unit)
        _child(element, "FloatDataEncoding", sizeInBits="32", encoding="IEEE754_1985")
    elif field.labels:
        element = _child(types, "EnumeratedParameterType", name=name)
        _units(element, field.unit)
        _child(element, "IntegerDataEncoding", sizeInBits=str(field.bits), encoding="unsigned")
        listing = _child(element, "EnumerationList")
        for value, label in enumerate(field.labels):
            _child(listing, "Enumeration", value=str(value), label=label)
    else:
        _integer(types, name, field.bits, field.unit, field.meaning)


def _integer(types: ET.Element, name: str, bits: int, unit: str, meaning: str) -> None:
    element = _child(types, "IntegerParameterType", name=name, signed="false", shortDescription=meaning)
    _units(element, unit)
    _child(element, "IntegerDataEncoding", sizeInBits=str(bits), encoding="unsigned")


def _units(element: ET.Element, unit: str) -> None:
    units = _child(element, "UnitSet")
    if unit:
        _child(units, "Unit").text = unit


def _child(parent: ET.Element, tag: str, /, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, _tag(tag), attributes)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
