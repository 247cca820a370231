package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// A logger that writes its values late logs what one does that writes them at once.
func TestLazyLoggerLogsTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var lazily, atOnce bytes.Buffer
	to := func(out *bytes.Buffer) logr.Logger {
		return zap.New(zap.WriteTo(out), zap.Level(zapcore.Level(-maxVerbosity)), zap.Encoder(zapcore.NewJSONEncoder(zapcore.EncoderConfig{
			MessageKey: "msg", LevelKey: "level", NameKey: "name", EncodeLevel: zapcore.LowercaseLevelEncoder,
		})))
	}
	root := [2]logr.Logger{logr.New(newLazySink(to(&lazily).GetSink())), to(&atOnce)}
	for range 1000 {
		loggers := root
		for depth := range random.IntN(6) {
			add := random.IntN(3)
			for i := range loggers {
				switch add {
				case 0:
					loggers[i] = loggers[i].WithValues("depth", depth, "object", []string{"a", "b"})
				case 1:
					loggers[i] = loggers[i].WithName("name")
				case 2:
					loggers[i] = loggers[i].WithCallDepth(1)
				}
			}
		}
		level := random.IntN(maxVerbosity + 2)
		for _, l := range loggers {
			l.V(level).Info("something", "level", level)
			l.Error(errors.New("it failed"), "something else")
		}
	}
	if lazily.String() != atOnce.String() || lazily.Len() < 1000 {
		t.Errorf("%d bytes are logged late, and %d at once, or others", lazily.Len(), atOnce.Len())
	}
}

// A logger that does not log asks nothing of the one below.
func TestLazyLoggerIsLazy(t *testing.T) {
	var calls int
	log := logr.New(newLazySink(counting{&calls})).WithValues("a", 1).WithValues("b", 2)
	if calls != 0 {
		t.Errorf("%d calls before anything is logged", calls)
	}
	log.Info("something", "c", 3)
	if want := 1; calls != want {
		t.Errorf("%d calls for a line, want %d", calls, want)
	}
}

// counting counts the calls that a logger gets for a line.
type counting struct{ calls *int }

func (c counting) Init(logr.RuntimeInfo)          {}
func (c counting) Enabled(int) bool               { return true }
func (c counting) Info(int, string, ...any)       { *c.calls++ }
func (c counting) Error(error, string, ...any)    { *c.calls++ }
func (c counting) WithValues(...any) logr.LogSink { *c.calls++; return c }
func (c counting) WithName(string) logr.LogSink   { *c.calls++; return c }
