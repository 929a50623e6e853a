package drivertest

import (
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
)

// Places in the contract that several checks hold a driver to.
const (
	baseFile       = "base.proto, "
	storageFile    = "storage.proto, "
	imageFile      = "image.proto, "
	hypervisorFile = "hypervisor.proto, "
	networkFile    = "network.proto, "
	outOfBandFile  = "outofband.proto, "
)

// citation says which sentence of the contract is behind the checks whose names hold some words.
type citation struct {
	// category and words of the name: either may be empty.
	category, words string
	sentence        report.Sentence
}

// sentenceOf finds the sentence of the contract behind a check, the first one that fits.
func sentenceOf(name string) report.Sentence {
	category, rest, _ := strings.Cut(name, ": ")
	for _, c := range citations() {
		if (c.category == "" || c.category == category || strings.HasPrefix(category, c.category+".")) &&
			strings.Contains(rest, c.words) {
			return c.sentence
		}
	}
	return report.Sentence{}
}

func said(place, text string) report.Sentence { return report.Sentence{Place: place, Text: text} }

func citations() []citation {
	var all []citation
	for _, some := range [][]citation{
		callCitations(), baseCitations(), faultCitations(), storageCitations(), imageCitations(), moveCitations(),
		hypervisorCitations(), networkCitations(), outOfBandCitations(), lastCitations(),
	} {
		all = append(all, some...)
	}
	return all
}

// callCitations are about every call that changes something.
func callCitations() []citation {
	once := said(baseFile+"Call.token", "Asked twice with one token a driver does the thing once and answers twice.")
	repeat := said(baseFile+"Call.repeat",
		"An earlier call with this token may have taken effect: look at the world before acting, then complete what "+
			"is missing.")
	recall := said(baseFile+"Base.Recall",
		"Recall answers what became of a call, by its token. It is how the engine resolves an unknown outcome and "+
			"how it shows progress.")
	fence := said(baseFile+"Call.epoch",
		"Fence. A driver refuses a call with a lower epoch than it has seen for the resource (CLASS_FENCED).")
	return []citation{
		{words: "asked twice with one token", sentence: once},
		{words: "two callers with one token", sentence: once},
		{words: "arrives late", sentence: once},
		{words: "what is so already succeeds", sentence: said(storageFile+"Storage",
			"All calls are idempotent by resource id and token: creating what is there with the same shape succeeds, "+
				"deleting what is gone succeeds.")},
		{words: "a token that came with another request", sentence: said(baseFile+"Call.token",
			"A step that is tried again may ask for something else, if what it depends on has changed meanwhile: then "+
				"with another token, and repeat.")},
		{words: "Recall tells the outcome", sentence: recall},
		{words: "epoch", sentence: fence},
		{words: "a repeat of what never happened", sentence: repeat},
		{words: "a repeat after the driver was killed", sentence: said(baseFile+"Base.Recall",
			"A driver that was restarted in between answers STATE_UNKNOWN; the engine then repeats the call with repeat "+
				"= true.")},
		{words: "killed in the middle and repeated", sentence: repeat},
		{words: "cancelled it stops", sentence: repeat},
		{words: "past its deadline", sentence: repeat},
		{words: "its answer is lost", sentence: recall},
	}
}

func baseCitations() []citation {
	hello := said(baseFile+"Base.Hello",
		"The driver answers with the highest API version both sides know, or FAILED_PRECONDITION if there is none.")
	adopt := said(baseFile+"Base.Adopt",
		"The driver checks that it can read the handle and that what the handle names is there. Idempotent.")
	secret := said(baseFile+"Call.secrets",
		"Secret properties, by key; they are not among the properties. Never logged, never part of a handle.")
	swap := said(baseFile+"Base.Adopt", "Adopt takes responsibility for a resource another instance served until now.")
	honest := said(baseFile+"CLASS_UNSUPPORTED", "The driver does not do this. Must agree with its capabilities.")
	return []citation{
		{"Base", "Hello names", said(baseFile+"Base.Hello", "Hello opens the conversation.")},
		{"Base", "Hello ", hello},
		{"Base", "Describe ", said(baseFile+"Base.Describe", "The answer is the same for the whole life of a version.")},
		{"Base", "described well enough", said(baseFile+"Property", "Property describes one vendor setting.")},
		{"Base", "Configure is idempotent", said(baseFile+"Base.Configure",
			"Configure sets the driver-wide properties. Idempotent.")},
		{"Base", "Probe ", said(baseFile+"Base.Probe", "Probe answers whether the driver can do its work now")},
		{"Base", "Recall of a token", said(baseFile+"Base.Recall", "Recall answers what became of a call, by its token.")},
		{"Base", "ids that are no file names", said(baseFile+"Ref",
			"Ids match ^[a-z0-9][a-z0-9-]{0,62}$, so they are safe in file names and object names.")},
		{"Base", "Metrics are", said(baseFile+"MetricsReply.text",
			"In the Prometheus text exposition format, version 0.0.4: counters, gauges and histograms, each with TYPE and "+
				"HELP, at most 256 KiB and 1000 series.")},
		{"Base", "Shutdown ends", said(baseFile+"Base.Shutdown",
			"Shutdown asks the driver to exit once running calls are finished, at the latest after the grace period.")},
		{"", "secret", secret},
		{"", "handle of a version", adopt},
		{"", "each handle", said(baseFile+"Handle", "Handle is the driver's opaque memory of a resource. At most 64 KiB.")},
		{"", "swapped under load", swap},
		{"", "upgraded under load", swap},
		{"", "older version left", said(baseFile+"HelloReply.handle_reads",
			"Handle versions this driver can read, and the one it writes.")},
		{"", "setting for an operation", honest},
		{"", "allows for an operation", said(baseFile+"Call.properties",
			"What was given for the operation alone that the call is a step of is among them too, and goes over what the "+
				"resource has.")},
		{"", "value that the description allows", said(baseFile+"Call.properties",
			"Vendor properties of the resource and of those above it in scope (pool, host, network), merged, "+
				"already validated; those of the driver as a whole come with Configure.")},
		{"", "at the same time", said(baseFile+"HelloReply.concurrency",
			"Calls in flight the driver is willing to take; 0 = no limit of its own.")},
		{"", "nothing is left", said(baseFile+"Base.Release", "The resource itself is untouched.")},
		{"", "is gone is refused with NOT_FOUND", adopt},
		{"", "hand a ", said(baseFile+"Base.Release",
			"Release gives a resource up: the driver finishes or abandons nothing, it only lets go of connections and "+
				"caches. The resource itself is untouched.")},
		{"", "Observe", said(baseFile+"Base.Observe",
			"Observe streams what exists in the scope of one resource (the volumes of a pool, the machines of a host, "+
				"the nics of a network), whether the engine knows it or not. It changes nothing.")},
		{"", "UNSUPPORTED", honest},
	}
}

func faultCitations() []citation {
	invalid := said(baseFile+"Fault.field",
		"What the user asked for that is wrong: a JSON pointer into the spec of the resource that the call is about, in "+
			"the API's words for its fields")
	return []citation{
		{"Networks", "a network that can't be built", said(networkFile+"Networks.DesignNetwork",
			"Fails with INVALID and the field when it can't be built.")},
		{"Networks", "CreateNetwork refuses", said(networkFile+"Networks.DesignNetwork",
			"Fails with INVALID and the field when it can't be built.")},
		{"Images", "a template that must not be taken", importSentence()},
		{"", "with INVALID and", invalid},
	}
}

func importSentence() report.Sentence {
	return said(imageFile+"Images.ImportTemplate",
		"ImportTemplate brings content in, verifies the checksum, inspects that it is what was declared, and refuses "+
			"what refers to other files.")
}
