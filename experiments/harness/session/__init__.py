"""A run that is trained, evaluated, gone on with or reproduced."""
