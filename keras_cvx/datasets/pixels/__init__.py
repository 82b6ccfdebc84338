"""From annotations to pixels: outlines, run-lengths, files of masks, and turned photographs."""
