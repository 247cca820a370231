// Command render prints the objects of a chart with its default values, as `helm template` does: render CHART NAMESPACE [KEY=VALUE...].
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: render CHART NAMESPACE [KEY=VALUE...]")
	}
	chart, err := loader.Load(args[0])
	if err != nil {
		return fmt.Errorf("reading the chart: %w", err)
	}
	values := map[string]any{}
	for _, arg := range args[2:] {
		key, value, _ := strings.Cut(arg, "=")
		values[key] = value
	}
	release := chartutil.ReleaseOptions{Name: "apitoken-operator", Namespace: args[1], IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return fmt.Errorf("reading the values: %w", err)
	}
	rendered, err := engine.Render(chart, all)
	if err != nil {
		return fmt.Errorf("rendering the chart: %w", err)
	}
	for name, text := range rendered {
		if strings.HasSuffix(name, ".yaml") {
			fmt.Printf("---\n%s\n", text)
		}
	}
	return nil
}
