"""What stands between API Gateway and a room's routes."""
