"""What people look at: figures and pages that need no server and fetch nothing."""
