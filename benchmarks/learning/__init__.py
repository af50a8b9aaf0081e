"""Learning the numbers of the network from the fault-injection corpus; outside of what users install."""
