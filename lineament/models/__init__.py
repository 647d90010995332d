"""The networks: plain baseline, MGMTN, FAR-AMTN, DMM-CNN (torch)."""
