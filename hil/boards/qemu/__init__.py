"""A board made of software: Debian for arm64 on QEMU's ``virt`` machine, with the node on its UART."""
