"""Servers and faults that stand in for what a laptop does not have: they ship with the project, so that anyone can try what is promised.

Belongs here: starting emulators, injecting faults. Does not belong here: anything that a run on Azure uses.
"""
