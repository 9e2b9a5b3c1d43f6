"""What issues tokens: one module a cloud."""
