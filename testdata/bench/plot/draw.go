package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// bar is a bar of a plot.
type bar struct {
	name  string
	value float64
}

var (
	gray = color.RGBA{0x7a, 0x87, 0x93, 0xff} // readable on white and on black
	blue = color.RGBA{0x1f, 0x8f, 0xc0, 0xff}
)

const (
	plotWidth = 420 // points
	barHeight = 14
	barSpace  = 22
	textSize  = 9
)

// draw draws bars as SVG, the first one on top, each with its value.
func draw(path, title string, bars []bar) error {
	bars = slices.Clone(bars)
	slices.Reverse(bars)
	p := plot.New()
	p.BackgroundColor = nil
	sans := font.Font{Typeface: "Liberation", Variant: "Sans", Size: textSize}
	p.Title.Padding = textSize
	p.Title.Text, p.Title.TextStyle.Font, p.Title.TextStyle.Color = title, sans, gray
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Tick.Color, axis.Tick.Label.Color, axis.Tick.Label.Font = gray, gray, gray, sans
	}
	values := make(plotter.Values, len(bars))
	labels := plotter.XYLabels{XYs: make(plotter.XYs, len(bars)), Labels: make([]string, len(bars))}
	names := make([]string, len(bars))
	for i, b := range bars {
		names[i], values[i] = b.name, b.value
		labels.XYs[i], labels.Labels[i] = plotter.XY{X: b.value, Y: float64(i)}, short(b.value)
	}
	chart, err := plotter.NewBarChart(values, barHeight)
	if err != nil {
		return err
	}
	chart.Horizontal, chart.Color, chart.LineStyle.Width = true, blue, 0
	texts, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	texts.Offset = vg.Point{X: 4, Y: -textSize / 3}
	for i := range texts.TextStyle {
		texts.TextStyle[i].Font, texts.TextStyle[i].Color = sans, gray
	}
	p.Add(chart, texts)
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, slices.Max(values)*1.12
	picture, err := p.WriterTo(plotWidth, vg.Length(60+barSpace*len(bars)), "svg")
	if err != nil {
		return err
	}
	var svg bytes.Buffer
	if _, err := picture.WriteTo(&svg); err != nil {
		return err
	}
	// Arial has the same widths, where the font is missing.
	return os.WriteFile(path, bytes.ReplaceAll(svg.Bytes(), []byte("Liberation Sans"), []byte("Liberation Sans,Arial,sans-serif")), 0o644)
}

// short writes a number with two or three digits that count.
func short(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2g", v)
	}
	return fmt.Sprintf("%.0f", v)
}
