# The export set and the package files are defined here.
