package report

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"apitokens.dev/operator/internal/plugin/output"
)

// formats is the flag -o of a report, which programs read in any case.
type formats struct{ other output.Format }

func (f *formats) addTo(cmd *cobra.Command) {
	cmd.Flags().VarP(f, "output", "o", "format of the output: csv, json, yaml")
}

// Set reads the flag.
func (f *formats) Set(text string) error {
	if text == "csv" {
		f.other = output.Format{}
		return nil
	}
	if text != output.JSON && text != output.YAML {
		return errors.New("want csv, json or yaml")
	}
	f.other = output.Of(text)
	return nil
}

func (f *formats) String() string { return "" }

// Type names the flag's values in the help.
func (f *formats) Type() string { return "csv|json|yaml" }

func (f *formats) write(w io.Writer, rows []row) error {
	if f.other.ForPeople() {
		return writeCSV(w, rows)
	}
	return f.other.Value(w, rows)
}
