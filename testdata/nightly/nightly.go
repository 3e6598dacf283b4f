// Package nightly sizes tests: a sample gates every change, and `make nightly` runs all
// of it.
package nightly

import "os"

// Variable is the environment variable that asks for the full size.
const Variable = "SPILLWAY_NIGHTLY"

// Pick returns full if the full size is asked for, and otherwise sample.
func Pick[T any](sample, full T) T {
	if os.Getenv(Variable) != "" {
		return full
	}
	return sample
}
