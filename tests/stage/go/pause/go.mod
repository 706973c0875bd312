module tributary.dev/tests/stage/pause

go 1.24
