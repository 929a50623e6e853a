package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// pair is what operations took in two rounds, one right after the other.
type pair struct{ calm, wild []time.Duration }

// pooled joins the rounds of each side, sorted.
func pooled(pairs []pair) (calm, wild []time.Duration) {
	for _, p := range pairs {
		calm, wild = append(calm, p.calm...), append(wild, p.wild...)
	}
	slices.Sort(calm)
	slices.Sort(wild)
	return calm, wild
}

// pooledRatio compares the p99 of all rounds of each side.
func pooledRatio(pairs []pair) float64 {
	calm, wild := pooled(pairs)
	return float64(quantile(wild, 0.99)) / float64(quantile(calm, 0.99))
}

// meanRatio is the geometric mean of the ratios of the pairs' p99: a stall of the
// machine spoils one pair, not the figure.
func meanRatio(pairs []pair) float64 {
	sum := 0.0
	for _, p := range pairs {
		sum += math.Log(pooledRatio([]pair{p}))
	}
	return math.Exp(sum / float64(len(pairs)))
}

// interval is a figure and where it lies with a confidence of 95 %.
type interval struct{ value, low, high float64 }

const resamples = 400

// compare finds the interval by drawing as many pairs as there are from them, with
// repetition, again and again (bootstrap).
func compare(pairs []pair, figure func([]pair) float64) interval {
	rng := rand.New(rand.NewPCG(1, uint64(len(pairs))))
	found := make([]float64, resamples)
	drawn := make([]pair, len(pairs))
	for i := range found {
		for j := range drawn {
			drawn[j] = pairs[rng.IntN(len(pairs))]
		}
		found[i] = figure(drawn)
	}
	slices.Sort(found)
	return interval{value: figure(pairs), low: found[resamples*25/1000], high: found[resamples*975/1000]}
}

// verdict says whether a figure is below a bound, as far as can be told.
func (i interval) verdict(bound float64) string {
	switch {
	case i.high <= bound:
		return "met"
	case i.low > bound:
		return "missed"
	}
	return "undecided"
}
