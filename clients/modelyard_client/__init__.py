"""What an application imports to call Triton."""
