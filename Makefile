# Verbs over Meson and Ninja; `make help` lists them. Everything builds out of tree in build/<kind>.
MESON := meson
JOBS ?= $(shell nproc)
T ?=
F ?=
B ?=
C ?=
TIME ?= 60
PREFIX ?= /usr/local
DESTDIR ?=
NINJA := ninja -j $(JOBS)
# --buildtype=release is -O3 without -g. Meson lets it win over -Doptimization and -Ddebug beside it.

.DEFAULT_GOAL := debug
.PHONY: help debug release install failpoints asan tsan fuzz-build run test test-long check unit corpus e2e \
        fmt fmt-check lint layers fuzz bench bench-compare bench-growth bench-instructions cover clean deps \
        deps-test

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | \
	    awk -F'\t' '{ printf "  make %-18s %s\n", $$1, $$2 }'

deps: ## install what building needs (Debian packages, only those missing; root or sudo)
	@tools/setup build

deps-test: ## install what testing needs as well
	@tools/setup build test

debug: deps ## debug build, slow checks on, in build/debug
	@test -f build/debug/build.ninja || $(MESON) setup build/debug --buildtype=debug
	@$(NINJA) -C build/debug

release: deps ## optimised, hardened build, assertions on: build/release/{etcd,etcdctl,benchmark}
	@test -f build/release/build.ninja || $(MESON) setup build/release --buildtype=release \
	    -Db_lto=true -Dtests=disabled -Dbenches=false
	@$(NINJA) -C build/release

asan: deps-test ## build with ASan and UBSan in build/asan
	@test -f build/asan/build.ninja || $(MESON) setup build/asan --buildtype=debug \
	    -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false -Dbenches=false
	@$(NINJA) -C build/asan

tsan: deps-test ## build with TSan and run the unit tests
	@test -f build/tsan/build.ninja || $(MESON) setup build/tsan --buildtype=debug \
	    -Doptimization=1 -Db_sanitize=thread -Db_lundef=false -Dbenches=false
	@$(NINJA) -C build/tsan
	@$(MESON) test -C build/tsan --no-rebuild --print-errorlogs --timeout-multiplier 5 --suite unit

failpoints: deps ## the server with failpoints, for crash tests, in build/failpoints
	@test -f build/failpoints/build.ninja || $(MESON) setup build/failpoints --buildtype=debug \
	    -Doptimization=1 -Dfailpoints=true -Dtests=disabled -Dbenches=false
	@$(NINJA) -C build/failpoints etcd

install: release ## etcd, etcdctl, etcdutl and libetcdclient, below PREFIX (/usr/local), all below DESTDIR
	@$(MESON) configure build/release -Dprefix=$(abspath $(PREFIX))
	@$(NINJA) -C build/release
	@$(MESON) install -C build/release --no-rebuild --quiet $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

run: release ## build, then serve one member on 127.0.0.1:2379 with its data in ./default.etcd
	@exec build/release/etcd

test: deps-test layers fmt-check ## everything: unit, corpora, transcripts, stock clients; ends with a sum
	@$(MAKE) --no-print-directory asan release failpoints
	@tools/run-tests

test-long: test ## `make test`, the long form of what has one, and every fuzz target for TIME seconds
	@tools/setup long
	@ETCDC_LONG=1 build/asan/test/server_crash_test
	@ETCDC_LONG=1 tools/run-tests e2e exchange
	@ETCDC_LONG=1 tools/run-tests e2e kill
	@ETCDC_LONG=1 tools/run-tests e2e failpoint
	@ETCDC_LONG=1 tools/run-tests e2e power
	@ETCDC_LONG=1 tools/run-tests e2e bitrot
	@ETCDC_LONG=1 tools/run-tests e2e watch
	@ETCDC_LONG=1 tools/run-tests e2e lease
	@ETCDC_LONG=1 tools/run-tests e2e client_check
	@ETCDC_LONG=1 tools/run-tests e2e patroni
	@tools/fuzz-all $(TIME)

check: test ## the same as `make test`

unit: asan ## unit tests; T=wal for one module's
	@$(MESON) test -C build/asan --no-rebuild --print-errorlogs --suite unit $(T)

corpus: asan ## replay every fuzz corpus
	@$(MESON) test -C build/asan --no-rebuild --print-errorlogs --suite corpus

e2e: asan release failpoints ## only the tests that start the real binary; T=book for one
	@tools/run-tests e2e $(T)

fuzz-build: deps
	@tools/setup fuzz
	@test -f build/fuzz/build.ninja || CC=clang $(MESON) setup build/fuzz --buildtype=debug \
	    -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false -Dfuzz=true \
	    -Dtests=disabled -Dbenches=false -Dc_args=-fsanitize=fuzzer-no-link
	@$(NINJA) -C build/fuzz

fuzz: fuzz-build ## every fuzz target for TIME seconds; F=wal for one: make fuzz F=wal TIME=60
	@tools/fuzz-all $(TIME) $(F)

bench: deps ## all micro-benchmarks; B=bolt for one; B=list names them
	@test -f build/bench/build.ninja || $(MESON) setup build/bench --buildtype=release \
	    -Db_lto=true -Dtests=disabled
	@$(NINJA) -C build/bench
	@tools/bench $(B)

bench-compare: deps-test release ## measure beside Go etcd into bench/results; ROUNDS=5 KEYS=1000000
	@tools/bench-compare

bench-instructions: deps ## instructions of one operation each, under callgrind
	@test -f build/instructions/build.ninja || $(MESON) setup build/instructions \
	    --buildtype=release -Dtests=disabled
	@$(NINJA) -C build/instructions
	@tools/bench-instructions

bench-growth: deps-test release ## how cost grows, beside Go etcd; C=values for one chart
	@tools/bench-growth $(C)

cover: deps-test ## line coverage of the unit tests in build/cover/index.html
	@tools/setup cover
	@test -f build/cover/build.ninja || $(MESON) setup build/cover --buildtype=debug -Db_coverage=true
	@$(NINJA) -C build/cover
	@$(MESON) test -C build/cover --no-rebuild
	@gcovr -r . --object-directory build/cover --exclude '.*_test\.c' --exclude '.*pb-c.*' \
	    --html-details build/cover/index.html --print-summary

fmt: deps-test ## clang-format over the tree
	@git ls-files '*.c' '*.h' | xargs clang-format -i

fmt-check:
	@git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror

layers: ## floors and doors
	@tools/layers

lint: debug layers ## clang-tidy, cppcheck, shellcheck, codespell: those that are installed
	@tools/lint

clean: ## remove build/
	@rm -rf build
