package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry keeps the figures of one node.
type Registry struct {
	registry *prometheus.Registry
	sources  sources

	proposals  *prometheus.HistogramVec
	frame      prometheus.Histogram
	stored     prometheus.Histogram
	applied    prometheus.Histogram
	snapshots  *prometheus.CounterVec
	leading    prometheus.Gauge
	operations *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	care       *prometheus.CounterVec
	crashes    *prometheus.CounterVec
	verified   *prometheus.CounterVec
	verifiedAt prometheus.Gauge
}

// Plain makes a registry for a program of a version that has the figures of its process, and those of sources.
func Plain(version string) *Registry {
	r := &Registry{registry: prometheus.NewRegistry()}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "bulkhead_build_info", Help: "1; the version is in the label.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	r.registry.MustRegister(info, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// New makes an empty registry for a node of a version.
func New(version string) *Registry {
	r := &Registry{
		registry: Plain(version).registry,
		proposals: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bulkhead_log_proposal_seconds", Help: "Time from a proposal to its result.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16),
		}, []string{"outcome"}),
		frame: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bulkhead_log_frame_commands", Help: "Commands that shared one log entry.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}),
		stored: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bulkhead_log_append_seconds", Help: "Time to append entries to the log durably.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 16),
		}),
		applied: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bulkhead_state_apply_seconds", Help: "Time to apply a batch of entries to the state.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 16),
		}),
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bulkhead_log_snapshots_total", Help: "Snapshots of the state that were attempted.",
		}, []string{"outcome"}),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bulkhead_log_leading", Help: "1 while this node leads.",
		}),
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bulkhead_operations_ended_total", Help: "Operations that ended.",
		}, []string{"kind", "action", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bulkhead_operation_seconds", Help: "Time from acceptance of an operation to its end.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 16),
		}, []string{"kind", "action"}),
	}
	r.watch()
	r.registry.MustRegister(r.proposals, r.frame, r.stored, r.applied, r.snapshots, r.leading, r.operations, r.duration,
		r.care, r.crashes, r.verified, r.verifiedAt)
	return r
}

// watch makes the figures of what goes on by itself.
func (r *Registry) watch() {
	r.care = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bulkhead_resource_care_total",
		Help: "Resources that were found degraded, that were repaired, and repairs that did not help.",
	}, []string{"kind", "what"})
	r.crashes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bulkhead_actor_crashes_total", Help: "Crashes of the code that works on a resource.",
	}, []string{"kind"})
	r.verified = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bulkhead_state_verifications_total", Help: "Times that all of the state on disk was read and checked.",
	}, []string{"outcome"})
	r.verifiedAt = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "bulkhead_state_verified_timestamp_seconds", Help: "When the state on disk was last found whole.",
	})
}

// Cared counts what became of the care for a resource.
func (r *Registry) Cared(kind, what string) { r.care.WithLabelValues(kind, what).Inc() }

// Crashed counts a crash of a resource's actor.
func (r *Registry) Crashed(kind string) { r.crashes.WithLabelValues(kind).Inc() }

// Verified counts a check of the state on disk, which ended at a time.
func (r *Registry) Verified(at time.Time, err error) {
	r.verified.WithLabelValues(outcome(err)).Inc()
	if err == nil {
		r.verifiedAt.Set(float64(at.Unix()))
	}
}

// readersAtOnce is how many may read the figures at the same time; further ones are told to come again.
const readersAtOnce = 8

// Handler serves the figures.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.GathererFunc(r.gather), promhttp.HandlerOpts{
		Registry: r.registry, MaxRequestsInFlight: readersAtOnce,
	})
}

// Proposed counts a proposal and the time it took.
func (r *Registry) Proposed(took time.Duration, err error) {
	r.proposals.WithLabelValues(outcome(err)).Observe(took.Seconds())
}

// Framed counts the commands of an entry.
func (r *Registry) Framed(commands, _ int) { r.frame.Observe(float64(commands)) }

// Stored counts an append to the log.
func (r *Registry) Stored(_ int, took time.Duration) { r.stored.Observe(took.Seconds()) }

// Applied counts a batch that was applied.
func (r *Registry) Applied(_, _ int, took time.Duration) { r.applied.Observe(took.Seconds()) }

// Snapshotted counts an attempt to take a snapshot.
func (r *Registry) Snapshotted(_ int64, _ time.Duration, err error) {
	r.snapshots.WithLabelValues(outcome(err)).Inc()
}

// Led notes whether the node leads.
func (r *Registry) Led(leading bool) {
	r.leading.Set(0)
	if leading {
		r.leading.Set(1)
	}
}

// OperationEnded counts an operation.
func (r *Registry) OperationEnded(kind, action, outcome string, took time.Duration) {
	r.operations.WithLabelValues(kind, action, outcome).Inc()
	r.duration.WithLabelValues(kind, action).Observe(took.Seconds())
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}
