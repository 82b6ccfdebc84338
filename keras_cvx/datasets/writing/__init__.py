"""The writers of data sets and of detections, one file for each format."""
