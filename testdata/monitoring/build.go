package main

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// matchers are what $in stands for in queries.
const matchers = `job="$job",instance=~"$instance"`

// build returns the dashboard.
func build() (dashboard.Dashboard, error) {
	d := dashboard.NewDashboardBuilder("Spillway").
		Uid("spillway").
		Description("Uploads of debug symbols: how they end, what they carry, what they wait for, and what the instances have left.").
		Tags([]string{"spillway"}).
		Refresh("30s").
		Time("now-6h", "now").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(choice("job", "Job", `label_values(spillway_build_info, job)`)).
		WithVariable(choice("instance", "Instance", `label_values(spillway_build_info{job="$job"}, instance)`).Multi(true).IncludeAll(true).AllValue(".*"))
	for _, r := range rows {
		d.WithRow(dashboard.NewRowBuilder(r.title))
		for _, p := range r.panels {
			d.WithPanel(p.builder())
		}
	}
	return d.Build()
}

// source is the data source that the variable chooses.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: new("prometheus"), Uid: new("$datasource")}
}

// choice returns a variable whose values a query finds.
func choice(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source()).
		Query(dashboard.StringOrMap{String: &query}).Refresh(dashboard.VariableRefreshOnTimeRangeChanged)
}

// targets returns the queries of p.
func (p panel) targets() (all []cog.Builder[variants.Dataquery]) {
	for _, q := range p.queries {
		t := prometheus.NewDataqueryBuilder().Expr(strings.ReplaceAll(q.expr, "$in", matchers)).LegendFormat(q.legend)
		if p.kind == number {
			t.Instant()
		} else {
			t.Range()
		}
		all = append(all, t)
	}
	return all
}

// builder returns the builder of p.
func (p panel) builder() cog.Builder[dashboard.Panel] {
	const width, height = 8, 8
	switch p.kind {
	case number:
		return stat.NewPanelBuilder().Title(p.title).Description(p.about).Datasource(source()).Span(width).Height(height).
			Unit(p.unit).Targets(p.targets())
	case states:
		return statetimeline.NewPanelBuilder().Title(p.title).Description(p.about).Datasource(source()).Span(width).Height(height).
			Mappings([]dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: map[string]dashboard.ValueMappingResult{
				"0": {Text: new("ok"), Color: new("green")},
				"1": {Text: new("warning"), Color: new("orange")},
				"2": {Text: new("error"), Color: new("red")},
			}}}}).Targets(p.targets())
	}
	b := timeseries.NewPanelBuilder().Title(p.title).Description(p.about).Datasource(source()).Span(width).Height(height).
		Unit(p.unit).Min(0).Targets(p.targets())
	if p.kind == stack {
		b.FillOpacity(40).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	return b
}
