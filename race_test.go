//go:build race

package main

// raceFlags has the program under test built as the tests are.
var raceFlags = []string{"-race"}
