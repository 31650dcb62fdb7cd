.PHONY: demo test lint lock

demo:
	script/demo

test:
	script/test

lint:
	script/lint

lock:
	script/lock
