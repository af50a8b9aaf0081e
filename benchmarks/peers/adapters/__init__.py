"""One adapter a tool, each as its README says to use it."""
