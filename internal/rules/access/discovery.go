package access

// discovery follows the Service Authorization Reference of AWS Cloud Map.
var discovery = join(
	rows(row{}, "ListNamespaces", "ListServices", "ListOperations", "GetOperation"),
	rows(row{tags: "Tags"}, "CreateHttpNamespace", "CreatePrivateDnsNamespace", "CreatePublicDnsNamespace"),
	rows(row{on: []target{{path: "Id", arn: plain("servicediscovery", "namespace/")}}},
		"GetNamespace", "DeleteNamespace", "UpdateHttpNamespace", "UpdatePrivateDnsNamespace", "UpdatePublicDnsNamespace"),
	rows(row{on: []target{{path: "Id", arn: plain("servicediscovery", "service/")}}}, "GetService", "UpdateService", "DeleteService"),
	rows(row{on: []target{ofService}, keys: []key{{name: "servicediscovery:servicearn", path: "ServiceId", as: one(plain("servicediscovery", "service/"))}}},
		"GetServiceAttributes", "UpdateServiceAttributes", "DeleteServiceAttributes", "RegisterInstance", "DeregisterInstance",
		"GetInstance", "ListInstances", "GetInstancesHealthStatus", "UpdateInstanceCustomHealthStatus"),
	rows(row{keys: []key{{name: "servicediscovery:namespacename", path: "NamespaceName"}, {name: "servicediscovery:servicename", path: "ServiceName"}}},
		"DiscoverInstances", "DiscoverInstancesRevision"),
	table{
		"CreateService": {
			on: []target{{path: "NamespaceId", arn: plain("servicediscovery", "namespace/")}}, tags: "Tags",
			keys: []key{{name: "servicediscovery:namespacearn", path: "NamespaceId", as: one(plain("servicediscovery", "namespace/"))}},
		},
		"TagResource":         {on: []target{{path: "ResourceARN", arn: literal}}, tags: "Tags"},
		"UntagResource":       {on: []target{{path: "ResourceARN", arn: literal}}, tagKeys: "TagKeys"},
		"ListTagsForResource": {on: []target{{path: "ResourceARN", arn: literal}}},
	},
)

var ofService = target{path: "ServiceId", arn: plain("servicediscovery", "service/")}
