package main

import (
	"slices"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// newLogger returns the logger of the process.
func newLogger(o zap.Options) logr.Logger {
	if o.Level != nil {
		o.Level = cappedLevel{o.Level}
	}
	return logr.New(newLazySink(zap.New(zap.UseFlagOptions(&o)).GetSink()))
}

// maxVerbosity is the highest verbosity that logs anything. From verbosity 8 on, client-go logs the bodies of its requests
// and answers, and ours contain Secrets.
const maxVerbosity = 5

// cappedLevel enables at most maxVerbosity.
type cappedLevel struct{ zapcore.LevelEnabler }

func (c cappedLevel) Enabled(l zapcore.Level) bool {
	return l >= -maxVerbosity && c.LevelEnabler.Enabled(l)
}

// lazySink writes the values of a logger only if the logger logs. Each pass of a controller has a logger with values of its own, and few
// passes log: to write the values took a twentieth of the CPU time of a start with 100,000 tokens.
type lazySink struct {
	logr.LogSink

	values []any
}

// newLazySink returns a lazySink above one that is in use already.
func newLazySink(below logr.LogSink) logr.LogSink {
	return (&lazySink{LogSink: below}).WithCallDepth(1) // that of its own methods
}

// Init implements logr.LogSink. The one below has its information already.
func (s *lazySink) Init(logr.RuntimeInfo) {}

// Info implements logr.LogSink.
func (s *lazySink) Info(level int, message string, values ...any) {
	s.LogSink.Info(level, message, s.with(values)...)
}

// Error implements logr.LogSink.
func (s *lazySink) Error(err error, message string, values ...any) {
	s.LogSink.Error(err, message, s.with(values)...)
}

func (s *lazySink) with(values []any) []any { return slices.Concat(s.values, values) }

// WithValues implements logr.LogSink.
func (s *lazySink) WithValues(values ...any) logr.LogSink {
	return &lazySink{s.LogSink, s.with(values)}
}

// WithName implements logr.LogSink.
func (s *lazySink) WithName(name string) logr.LogSink {
	return &lazySink{s.LogSink.WithName(name), s.values}
}

// WithCallDepth implements logr.CallDepthLogSink.
func (s *lazySink) WithCallDepth(depth int) logr.LogSink {
	if below, ok := s.LogSink.(logr.CallDepthLogSink); ok {
		return &lazySink{below.WithCallDepth(depth), s.values}
	}
	return s
}
