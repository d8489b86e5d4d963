"""The TypeScript kernel: a wrapper process between Jupyter and Deno.

``python -m taskloom.kernel -f CONNECTION_FILE`` owns the five sockets that Jupyter knows, starts
Deno on five of its own and passes messages on. Standing there it puts right what Deno's own
kernel leaves open: results that come after the end of their cell, interrupts of a cell that
waits, a process that outlives its lab. ``python -m taskloom.kernel install`` registers the kernel
for a Jupyter of another environment.
"""
