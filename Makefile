# Verbs over Meson and Ninja. `make help` lists them.
BUILD := build

.PHONY: all debug
all: debug ## debug build in build/debug

debug:
	@test -f $(BUILD)/debug/build.ninja || meson setup $(BUILD)/debug
	@ninja -C $(BUILD)/debug
