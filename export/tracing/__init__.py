"""Follow what a tensor's axes and entries mean through the graph: layout, origins, selection, folding."""
