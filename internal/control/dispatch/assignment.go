package dispatch

import (
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
)

// desired is what the node is told. A task that is to stop runs on for as long
// as a load balancer or a name may still lead to it.
func desired(t *model.Task) string {
	if t.DesiredStatus == model.TaskStopped && !t.Ends() {
		return model.TaskRunning
	}
	return t.DesiredStatus
}

// assignment gathers everything that the node needs, with the overrides
// already applied to the definition.
func (d *Dispatcher) assignment(snap *store.Snapshot, t *model.Task) (*model.Assignment, error) {
	def, ok := records.TaskDefinitions.Get(snap, model.TaskDefinitionKey(t.Family, t.Revision))
	if !ok {
		return nil, fmt.Errorf("task definition %s is gone", t.TaskDefinitionARN)
	}
	effective, err := taskspec.Apply(*def, t.Overrides)
	if err != nil {
		return nil, fmt.Errorf("applying overrides: %w", err)
	}
	a := &model.Assignment{
		Task: *t, TaskDefinition: effective,
		Region: d.cfg.Scope.Region, AccountID: d.cfg.Scope.AccountID,
		ClusterARN: d.cfg.Scope.Cluster(t.ClusterName),
	}
	a.Task.DesiredStatus = desired(t)
	if t.ENIID == "" {
		return a, nil
	}
	eni, ok := records.NetworkInterfaces.Get(snap, t.ENIID)
	if !ok {
		return nil, fmt.Errorf("network interface %s is gone", t.ENIID)
	}
	subnet, ok := records.Subnets.Get(snap, eni.SubnetID)
	if !ok {
		return nil, fmt.Errorf("subnet %s is gone", eni.SubnetID)
	}
	vpc, ok := records.VPCs.Get(snap, eni.VPCID)
	if !ok {
		return nil, fmt.Errorf("VPC %s is gone", eni.VPCID)
	}
	a.NetworkInterface = &model.AssignedNetwork{NetworkInterface: *eni, VPCCIDR: vpc.CIDR, SubnetCIDR: subnet.CIDR}
	return a, nil
}

func attributes(values map[string]string) []model.Attribute {
	var out []model.Attribute
	for name, value := range values {
		out = append(out, model.Attribute{Name: name, Value: value})
	}
	slices.SortFunc(out, func(a, b model.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return out
}
