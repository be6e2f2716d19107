"""The commands of ``hil``, one file each; at the top they import nothing heavy."""
