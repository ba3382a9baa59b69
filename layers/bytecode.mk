# Byte code for a folder that Lambda mounts read-only: without it, Python compiles every module at each
# cold start (1 234 ms instead of 497). Only an interpreter of the target's version can make it, with
# unchecked hashes, because a zip archive does not keep the files' times.
#
#   $(call bytecode,FOLDER,WHERE LAMBDA MOUNTS IT)
define bytecode
	@find '$(1)' -name __pycache__ -type d -prune -exec rm -rf {} +
	@for python in python3.13 \
	    "$$(pyenv prefix 3.13 2>/dev/null)/bin/python" "$$(uv python find 3.13 2>/dev/null)"; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then \
	    exec "$$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash \
	      -s '$(1)' -p '$(2)' '$(1)'; \
	  fi; \
	done; \
	echo 'No python3.13 found: packed without byte code, so cold starts take longer.'
endef
