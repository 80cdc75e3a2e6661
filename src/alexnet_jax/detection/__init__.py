"""Object detection on the features of a network, as R-CNN (Girshick et al. 2014)."""
