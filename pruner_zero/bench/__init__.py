"""What one evaluation costs, measured against the device's own limits and the public flow."""
