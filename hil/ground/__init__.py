"""For ground software: results as CCSDS packets, their XTCE database, and metrics."""
