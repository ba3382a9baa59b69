"""What the platform costs; `make bench` measures it, `docs/performance.md` shows it."""
