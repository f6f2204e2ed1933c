"""Azure's regions and the part of the world that each is in: as far as a data zone reaches, else the country.

Facts of 2025-03; regions that came later are unknown here, which silences the one lint that asks.
"""

from __future__ import annotations

_AREAS = {
    "the EU's data zone": (
        "austriaeast belgiumcentral denmarkeast francecentral francesouth germanynorth germanywestcentral italynorth "
        "northeurope norwayeast norwaywest polandcentral spaincentral swedencentral switzerlandnorth switzerlandwest "
        "westeurope"
    ),
    "the US data zone": ("centralus eastus eastus2 northcentralus southcentralus westcentralus westus westus2 westus3"),
    "the Asia-Pacific data zone": (
        "australiaeast australiasoutheast centralindia eastasia indonesiacentral japaneast japanwest jioindiawest "
        "koreacentral malaysiawest southeastasia southindia"
    ),
    "the US government's cloud": "usgovarizona usgovtexas usgovvirginia",
    "Australia": "australiacentral australiacentral2",
    "Brazil": "brazilsouth brazilsoutheast",
    "Canada": "canadacentral canadaeast",
    "India": "westindia",
    "Israel": "israelcentral",
    "Korea": "koreasouth",
    "Mexico": "mexicocentral",
    "New Zealand": "newzealandnorth",
    "Qatar": "qatarcentral",
    "South Africa": "southafricanorth southafricawest",
    "the UAE": "uaecentral uaenorth",
    "the United Kingdom": "uksouth ukwest",
}

AREAS = {region: area for area, regions in _AREAS.items() for region in regions.split()}
