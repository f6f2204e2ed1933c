// Closes the way around the gateway: the model resource has no public network and no keys, a private endpoint stands in
// a subnet of its own, and only the gateway's subnet may reach that. Clients are then left with the gateway.
//
//   az deployment group create -g RESOURCE_GROUP -f side-door.bicep \
//     -p account=contoso-weu network=ai gatewaySubnet=gateway gatewayPrincipal=OBJECT_ID
//
// Afterwards, from a client's network: sluicegate verify-bypass https://contoso-weu.openai.azure.com

@description('Name of the Azure OpenAI or Foundry resource, in this resource group.')
param account string

@description('Name of the virtual network, in this resource group.')
param network string

@description('Its subnet in which the gateway runs.')
param gatewaySubnet string

@description('A free range of it for the private endpoints.')
param endpointRange string = '10.0.8.0/27'

@description('Principal id of the managed identity of the gateway: it alone may call the models.')
param gatewayPrincipal string

@description('Whether the gateway itself is reached through Azure Front Door.')
param frontDoor bool = true

param location string = resourceGroup().location

@description('Kind and sku as the resource has them: a resource that is deployed again must not change.')
param kind string = 'OpenAI'

var openAiUser = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd' // Cognitive Services OpenAI User

resource vnet 'Microsoft.Network/virtualNetworks@2024-05-01' existing = {
  name: network
}

resource gateway 'Microsoft.Network/virtualNetworks/subnets@2024-05-01' existing = {
  parent: vnet
  name: gatewaySubnet
}

resource closed 'Microsoft.CognitiveServices/accounts@2024-10-01' = {
  name: account
  location: location
  kind: kind
  sku: { name: 'S0' }
  properties: {
    customSubDomainName: account
    publicNetworkAccess: 'Disabled' // nobody from outside, whatever key they have
    disableLocalAuth: true // keys that clients still have are worth nothing
    networkAcls: { defaultAction: 'Deny' }
  }
}

// Who may reach the private endpoints: the gateway's subnet, and nobody else of the network.
resource endpoints 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: '${network}-model-endpoints'
  location: location
  properties: {
    securityRules: [
      {
        name: 'gateway-only'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: gateway.properties.addressPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: endpointRange
          destinationPortRange: '443'
        }
      }
      {
        name: 'nobody-else'
        properties: {
          priority: 200
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: endpointRange
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource endpointSubnet 'Microsoft.Network/virtualNetworks/subnets@2024-05-01' = {
  parent: vnet
  name: 'model-endpoints'
  properties: {
    addressPrefix: endpointRange
    networkSecurityGroup: { id: endpoints.id }
    privateEndpointNetworkPolicies: 'Enabled' // without it the rules above do not hold for private endpoints
  }
}

resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = {
  name: '${account}-endpoint'
  location: location
  properties: {
    subnet: { id: endpointSubnet.id }
    privateLinkServiceConnections: [
      {
        name: account
        properties: { privateLinkServiceId: closed.id, groupIds: ['account'] }
      }
    ]
  }
}

resource zone 'Microsoft.Network/privateDnsZones@2020-06-01' = {
  name: 'privatelink.openai.azure.com'
  location: 'global'

  resource link 'virtualNetworkLinks' = {
    name: network
    location: 'global'
    properties: { virtualNetwork: { id: vnet.id }, registrationEnabled: false }
  }
}

resource zoneGroup 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [{ name: 'openai', properties: { privateDnsZoneId: zone.id } }]
  }
}

// The gateway's identity, and no client's.
resource mayCall 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(closed.id, gatewayPrincipal, openAiUser)
  scope: closed
  properties: {
    principalId: gatewayPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', openAiUser)
  }
}

// In front of the gateway: whoever did not come through Front Door does not come at all. The header X-Azure-FDID then
// tells our Front Door from other people's (gateway.front_door_ids).
resource entrance 'Microsoft.Network/networkSecurityGroups@2024-05-01' = if (frontDoor) {
  name: '${network}-gateway'
  location: location
  properties: {
    securityRules: [
      {
        name: 'front-door'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: 'AzureFrontDoor.Backend'
          sourcePortRange: '*'
          destinationAddressPrefix: gateway.properties.addressPrefix
          destinationPortRange: '8080'
        }
      }
      {
        name: 'probes-of-load-balancers'
        properties: {
          priority: 110
          direction: 'Inbound'
          access: 'Allow'
          protocol: '*'
          sourceAddressPrefix: 'AzureLoadBalancer'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
      {
        name: 'nobody-else'
        properties: {
          priority: 200
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

@description('To be put on the subnet of the gateway.')
output entrance string = frontDoor ? entrance.id : ''
