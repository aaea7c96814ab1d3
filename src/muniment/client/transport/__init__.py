"""The data plane as the client speaks it: typed requests over HTTP/1.1, retried, limited, verified."""
