// Package dns answers DNS queries: each task finds its resolver at
// 169.254.169.253, on sockets that the agent opened inside the task's network
// namespace, and the host finds what is public at an address of its own.
//
// It keeps these things true:
//
//   - Private names are answered here, forward and reverse: ip-172-31-16-5.ec2.internal (in us-east-1) and
//     ip-172-31-16-5.eu-west-1.compute.internal (elsewhere) is 172.31.16.5, for every address of the task's VPC.
//     Nothing of them leaves the host. Other names in that zone do not exist, except ip-… names of other ranges, which
//     a real VPC around this host may know.
//   - Zones, which come as documents ([Resolver.Apply]), are answered from authoritatively: those of the task's VPC and
//     those of every VPC in a task, the public ones on the host. What a zone does not have does not exist, with a SOA that
//     says for how long to believe it; only zones that say so leave the rest to other resolvers. The zone with the longest
//     name answers, and of two with one name the one of the VPC (split-horizon, as Route 53). A new set of zones takes the
//     place of the old one between two queries.
//   - A VPC whose enableDnsSupport is off has no resolver ([Resolver.ApplyVPCs]): what is asked there is refused.
//   - Everything else is asked of the host's resolvers, from the host's own network: a resolver on 127.0.0.53 works. Its
//     answer is passed on as it is. /etc/resolv.conf is read again whenever it changes, as laptops' do.
//   - A query is answered soon: SERVFAIL at once when there is no resolver, the next resolver when one is silent, and the
//     one that answered last is asked first. A resolver of the host that asks us what we asked it does not go round for long.
//   - The sockets and goroutines of a task end with the context of its Run.
//
// It keeps no cache: the host's resolver has one, and a stale answer would be ours to explain. Failures to answer are
// the task's to see (as SERVFAIL), not errors of the agent.
//
// Deviations from Amazon's resolver: answers from zones have the aa bit, because nothing is between us and the zone; a
// chain of CNAMEs ends after eight names; in a VPC without DNS support queries are refused at once instead of left unanswered.
//
// Sources of behaviour: the Amazon VPC user guide ("DNS attributes for your VPC"), the Route 53 developer guide ("Working
// with private hosted zones", "Multivalue answer routing") and behaviour/networking-lb-discovery.md §1 and §5.
package dns
