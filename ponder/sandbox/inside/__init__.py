"""What runs inside the sandbox: standard library only, since nothing else is bound there.

zygote     a warm process that forks an examiner a check, and sees neither programs nor tests
examiner   trusted: runs the tests, never the program
program    runs the program, and answers the examiner's calls
wire       how values cross between the two: plain data, decoded strictly
jail       namespaces, limits, capabilities and system calls of a process
"""
