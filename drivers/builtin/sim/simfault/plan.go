package simfault

import (
	"math/rand/v2"
	"sync"
)

// Ledger counts firings where they outlive the process. Fire records one more firing of the rule with this text,
// unless it fired limit times already (0 = without end); it tells whether it did.
type Ledger interface {
	Fire(rule Rule, limit uint64, by Subject) (bool, error)
}

// Plan is a set of rules and what they have seen so far in this process. Safe for concurrent use.
type Plan struct {
	mutex sync.Mutex
	rules []*armed
}

// armed is a rule with its counters.
type armed struct {
	rule   Rule
	text   string
	seen   uint64
	chance *rand.Rand
}

// NewPlan makes a plan of rules.
func NewPlan(rules []Rule) *Plan {
	p := &Plan{}
	p.Replace(rules)
	return p
}

// Replace puts other rules in place. A rule that was there before keeps its counters.
func (p *Plan) Replace(rules []Rule) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	before := make(map[string]*armed, len(p.rules))
	for _, known := range p.rules {
		before[known.text] = known
	}
	p.rules = make([]*armed, 0, len(rules))
	for _, rule := range rules {
		text := rule.String()
		if known, ok := before[text]; ok {
			p.rules = append(p.rules, known)
			continue
		}
		p.rules = append(p.rules, &armed{
			rule: rule, text: text, chance: rand.New(rand.NewPCG(rule.Seed, uint64(len(text)))),
		})
	}
}

// Add puts one more rule in place; remove takes it out again.
func (p *Plan) Add(rule Rule) (remove func()) {
	added := &armed{
		rule: rule, text: rule.String(), chance: rand.New(rand.NewPCG(rule.Seed, uint64(len(rule.String())))),
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.rules = append(p.rules, added)
	return func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		for i, known := range p.rules {
			if known == added {
				p.rules = append(p.rules[:i:i], p.rules[i+1:]...)
				return
			}
		}
	}
}

// Empty tells whether there is no rule.
func (p *Plan) Empty() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(p.rules) == 0
}

// Take returns the rules that fire for a call, in their order, and counts them with the ledger.
func (p *Plan) Take(s Subject, ledger Ledger) ([]Rule, error) {
	var fired []Rule
	for _, rule := range p.due(s) {
		ok, err := ledger.Fire(rule, rule.Limit(), s)
		if err != nil {
			return fired, err
		}
		if ok {
			fired = append(fired, rule)
		}
	}
	return fired, nil
}

func (p *Plan) due(s Subject) []Rule {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	var due []Rule
	for _, a := range p.rules {
		if a.rule.Matches(s) && a.occurs() {
			due = append(due, a.rule)
		}
	}
	return due
}

// occurs counts a match and tells whether this one is meant.
func (a *armed) occurs() bool {
	a.seen++
	switch {
	case a.rule.Nth > 0:
		return a.seen == a.rule.Nth
	case a.rule.Every > 0:
		return a.seen%a.rule.Every == 0
	case a.rule.Prob > 0:
		return a.chance.Float64() < a.rule.Prob
	}
	return true
}
