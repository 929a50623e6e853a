package operationstest

import (
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func storageScenarios() []Scenario {
	return append(poolScenarios(), append(imageScenarios(), volumeScenarios()...)...)
}

func poolScenarios() []Scenario {
	return []Scenario{
		{Kind: resources.KindPool, Action: "create", Prepare: func(*actorstest.Zone) resources.Submission {
			return create(pool())
		}},
		{
			Kind: resources.KindPool, Action: "delete", Irreversible: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				return do(resources.KindPool, z.Must(pool()), "delete", resources.Arguments{})
			},
		},
	}
}

func imageScenarios() []Scenario {
	return []Scenario{
		{Kind: resources.KindImageStore, Action: "create", Prepare: func(*actorstest.Zone) resources.Submission {
			return create(store())
		}},
		{
			Kind: resources.KindImageStore, Action: "delete", Irreversible: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				return do(resources.KindImageStore, z.Must(store()), "delete", resources.Arguments{})
			},
		},
		{Kind: resources.KindTemplate, Action: "create", Prepare: func(z *actorstest.Zone) resources.Submission {
			z.Must(store())
			return create(template())
		}},
		{
			Kind: resources.KindTemplate, Action: "delete", Irreversible: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				z.Must(store())
				return do(resources.KindTemplate, z.Must(template()), "delete", resources.Arguments{})
			},
		},
	}
}

func volumeScenarios() []Scenario {
	withVolume := func(z *actorstest.Zone) string {
		z.Must(pool())
		return z.Must(volume("data"))
	}
	return []Scenario{
		{Kind: resources.KindVolume, Action: "create", Prepare: func(z *actorstest.Zone) resources.Submission {
			z.Must(pool())
			return create(volume("data"))
		}},
		{Kind: resources.KindVolume, Action: "create", Variant: "from-template", Prepare: fromTemplate},
		{Kind: resources.KindVolume, Action: "create", Variant: "from-snapshot", Prepare: fromSnapshot},
		{
			Kind: resources.KindVolume, Action: "delete", Irreversible: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				return do(resources.KindVolume, withVolume(z), "delete", resources.Arguments{})
			},
		},
		{Kind: resources.KindVolume, Action: "grow", Prepare: func(z *actorstest.Zone) resources.Submission {
			return do(resources.KindVolume, withVolume(z), "grow", resources.Arguments{SizeBytes: 2 * gib})
		}},
		{
			Kind: resources.KindVolume, Action: "revert", Once: "RevertSnapshot",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				vol := withVolume(z)
				snap := z.Must(snapshot(vol))
				return do(resources.KindVolume, vol, "revert", resources.Arguments{SnapshotID: resources.SnapshotID(snap)})
			},
		},
		{Kind: resources.KindSnapshot, Action: "create", Prepare: func(z *actorstest.Zone) resources.Submission {
			return create(snapshot(withVolume(z)))
		}},
		{
			Kind: resources.KindSnapshot, Action: "delete", Irreversible: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				return do(resources.KindSnapshot, z.Must(snapshot(withVolume(z))), "delete", resources.Arguments{})
			},
		},
		{Kind: resources.KindVolume, Action: "claim", Internal: true, Prepare: attachVolume},
		{Kind: resources.KindVolume, Action: "unclaim", Internal: true, Irreversible: true, Prepare: detachVolume},
		{Kind: resources.KindVolume, Action: "reserve", Internal: true, Prepare: growVolume},
	}
}

func fromTemplate(z *actorstest.Zone) resources.Submission {
	z.Must(store())
	z.Must(pool())
	vol := volume("copy")
	vol.Spec.TemplateID = resources.TemplateID(z.Must(template()))
	vol.Spec.SizeBytes = 0
	return create(vol)
}

func fromSnapshot(z *actorstest.Zone) resources.Submission {
	z.Must(pool())
	snap := z.Must(snapshot(z.Must(volume("data"))))
	vol := volume("copy")
	vol.Spec.SnapshotID = resources.SnapshotID(snap)
	return create(vol)
}
