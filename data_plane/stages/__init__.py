"""The steps of a call. None knows another: their order exists only in `data_plane.pipeline`."""
