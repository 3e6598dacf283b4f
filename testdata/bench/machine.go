package main

import (
	"os"
	"runtime"
	"strings"
)

// noteMachine notes what the figures are of, and how busy it is.
func (b *bench) noteMachine(when string) error {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	b.note("%d processors%s.", runtime.NumCPU(), modelOf(string(info)))
	b.note("Load %s: %s.", when, strings.Join(strings.Fields(string(load))[:3], ", "))
	return nil
}

// modelOf returns the processors' model, which not every architecture has.
func modelOf(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return ", " + strings.TrimSpace(model)
		}
	}
	return ""
}
