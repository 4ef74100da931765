"""What people look at: signal files, pictures, reports."""
