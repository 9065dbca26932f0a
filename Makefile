# Thin front to meson: every target first makes sure that what it needs is
# installed (tools/bootstrap), then configures, builds and runs.
#
#   YES=1          install missing packages without asking
#   BOOTSTRAP=no   never install anything
#   JOBS=N         compile and test with N processes

JOBS         ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX       ?= /usr/local
DESTDIR      ?=
# Where this system's linker and pkg-config look; where there is no folder for the
# architecture meson chooses.
LIBDIR       ?= $(patsubst /usr/%,%,$(wildcard $(addprefix /usr/lib/,$(shell $(CC) -print-multiarch 2>/dev/null))))
FUZZ_SECONDS ?= 30
export JOBS FUZZ_SECONDS YES BOOTSTRAP MODEL LLAMA

.DEFAULT_GOAL := build
.PHONY: help build run demo test bench fuzz install check check-cxl-vm format clean

help:
	@echo 'make build     build/onecopy and the library (the default)'
	@echo 'make run       build, then run the demonstration'
	@echo '                 ONCE=1 ends after one round, TRACE=FILE replays FILE,'
	@echo '                 LLAMA=no leaves out the act with llama.cpp'
	@echo 'make demo      build, then agents on llama.cpp with one copy of their prompt'
	@echo '                 MODEL=FILE.gguf instead of random weights'
	@echo 'make test      all builds, all tests, all static checks'
	@echo 'make check     the static checks only'
	@echo 'make check-cxl-vm  CXL by the real kernel drivers, in emulated machines'
	@echo 'make bench     build, then run all benchmarks (BENCH_ARGS=...)'
	@echo 'make fuzz      fuzz every target for FUZZ_SECONDS (30) each'
	@echo 'make install   install under $$(DESTDIR)$$(PREFIX) (/usr/local)'
	@echo '                 LIBDIR=DIR libraries there, below PREFIX'
	@echo 'make format    format all C files'
	@echo 'make clean     remove what was built'

build:
	@tools/bootstrap build
	@tools/configure build
	@ninja -C build -j $(JOBS)

run:
	@tools/bootstrap build
	@tools/configure build && ninja -C build onecopy
	@tools/demo-llama --part
	@build/onecopy demo $(if $(ONCE),--once) $(if $(TRACE),--trace $(TRACE))

demo:
	@tools/bootstrap demo
	@tools/demo-llama

test:
	@tools/bootstrap test
	@tools/test

bench: build
	@build/onecopy bench all $(BENCH_ARGS)

fuzz:
	@tools/bootstrap fuzz
	@tools/fuzz $(TARGET)

install: build
	@meson configure build -Dprefix=$(PREFIX) $(if $(LIBDIR),-Dlibdir=$(LIBDIR))
	@ninja -C build -j $(JOBS)
	@DESTDIR='$(DESTDIR)' meson install -C build --no-rebuild

check:
	@tools/bootstrap check
	@tools/check

check-cxl-vm: build
	@tools/check-cxl-vm $(CXL_VM_ARGS)

format:
	@tools/bootstrap check
	@tools/c-files | xargs -r clang-format-14 -i

clean:
	rm -rf build build-*
