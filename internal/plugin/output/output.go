// Package output prints what commands have found and done: for people, and for programs.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/session"
)

// The formats of -o. An empty format is for people.
const (
	Wide = "wide"
	JSON = "json"
	YAML = "yaml"
	Name = "name"
)

// Format is the flag -o, with those that change it.
type Format struct {
	format    string
	allowed   []string
	noHeaders bool
}

// Of returns a Format that is set.
func Of(format string) Format { return Format{format: format} }

// AddTo adds the flag to a command, with the formats that it has.
func (f *Format) AddTo(cmd *cobra.Command, allowed ...string) {
	f.allowed = allowed
	cmd.Flags().StringVarP(&f.format, "output", "o", "", "format of the output: "+strings.Join(allowed, ", ")+"; without it, text for people")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	if slices.Contains(allowed, Wide) {
		cmd.Flags().BoolVar(&f.noHeaders, "no-headers", false, "print no headings of columns")
	}
}

// Check refuses a format that the command does not have.
func (f *Format) Check() error {
	if f.format != "" && !slices.Contains(f.allowed, f.format) {
		return exit.Usagef("-o %s: this command has no such format: use one of %s", f.format, strings.Join(f.allowed, ", "))
	}
	return nil
}

// ForPeople reports whether people read the output.
func (f *Format) ForPeople() bool { return f.format == "" || f.format == Wide }

// Is reports whether this is the format.
func (f *Format) Is(format string) bool { return f.format == format }

// Objects prints objects, or a list of them, for programs.
func (f *Format) Objects(w io.Writer, o runtime.Object) error {
	if err := setKinds(o); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if f.format == Name && apimeta.IsListType(o) {
		return apimeta.EachListItem(o, func(item runtime.Object) error { return f.Objects(w, item) })
	}
	p := map[string]printers.ResourcePrinter{
		JSON: &printers.JSONPrinter{}, YAML: &printers.YAMLPrinter{}, Name: &printers.NamePrinter{ShortOutput: true},
	}[f.format]
	if err := (&printers.OmitManagedFieldsPrinter{Delegate: p}).PrintObj(o, w); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// setKinds sets the kind of an object and of the objects in a list, which clients leave out.
func setKinds(o runtime.Object) error {
	kind, err := apiutil.GVKForObject(o, session.Scheme)
	if err != nil {
		return err
	}
	o.GetObjectKind().SetGroupVersionKind(kind)
	if !apimeta.IsListType(o) {
		return nil
	}
	return apimeta.EachListItem(o, func(item runtime.Object) error {
		kind, err := apiutil.GVKForObject(item, session.Scheme)
		item.GetObjectKind().SetGroupVersionKind(kind)
		return err
	})
}

// Value prints a value that is no object of the API server, for programs. names are what -o name prints.
func (f *Format) Value(w io.Writer, v any, names ...string) error {
	var text []byte
	var err error
	switch f.format {
	case Name:
		for _, name := range names {
			fmt.Fprintln(w, name)
		}
		return nil
	case YAML:
		text, err = yaml.Marshal(v)
	default:
		text, err = json.MarshalIndent(v, "", "    ")
		text = append(text, '\n')
	}
	if err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// Column is a column of a table. A wide one is printed with -o wide only.
type Column struct {
	Name string
	Wide bool
}

// Table prints a table for people. An empty one is said in words, on the writer for messages.
func (f *Format) Table(s *session.Session, columns []Column, rows [][]any, none string) error {
	if len(rows) == 0 {
		fmt.Fprintln(s.ErrOut, none)
		return nil
	}
	table := &metav1.Table{}
	for _, c := range columns {
		priority := int32(0)
		if c.Wide {
			priority = 1
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions, metav1.TableColumnDefinition{Name: c.Name, Type: "string", Priority: priority})
	}
	for _, cells := range rows {
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells})
	}
	p := printers.NewTablePrinter(printers.PrintOptions{Wide: f.format == Wide, NoHeaders: f.noHeaders})
	if err := p.PrintObj(table, s.Out); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// Cell makes a text harmless for programs that run the formulas in a CSV: owners choose their labels.
func Cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
