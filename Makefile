.PHONY: demo test lint lock package changelog

demo:
	script/demo

test:
	script/test

lint:
	script/lint

lock:
	script/lock

package:
	script/package

changelog:
	script/changelog
