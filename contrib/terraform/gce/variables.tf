variable "names" {
  description = "The jump servers, each with the name that its certificate, its machine and its disk have."
  type        = set(string)

  validation {
    condition     = length(var.names) > 0 && alltrue([for name in var.names : can(regex("^[a-z]([a-z0-9-]{0,40}[a-z0-9])?$", name))])
    error_message = "Name at least one server; small letters, digits and dashes, a letter first, at most 42 of them."
  }
}

variable "fleet" {
  description = "What begins the names of the service account, the addresses, the disks and the firewall's rules; another one for each use of this module in a project."
  type        = string
  default     = "containarium"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,12}[a-z0-9]$", var.fleet))
    error_message = "Use 6 to 14 small letters, digits and dashes, a letter first."
  }
}

variable "project" {
  description = "The ID of the project that everything is made in."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "This is not the ID of a project, as \"my-project-123456\"."
  }
}

variable "zone" {
  description = "The zone of the servers and their disks; the addresses are of its region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+-[a-z]$", var.zone))
    error_message = "This is not a zone, as \"europe-west3-a\"."
  }
}

variable "network" {
  description = "The VPC network, by name or self link. The network \"default\" of a new project opens port 22 to the world by a rule of its own."
  type        = string

  validation {
    condition     = can(regex("[a-z]([a-z0-9-]*[a-z0-9])?$", var.network))
    error_message = "This is neither the name nor the self link of a network."
  }
}

variable "subnetwork" {
  description = "The subnetwork of it, in the region of the zone, by name or self link."
  type        = string

  validation {
    condition     = can(regex("[a-z]([a-z0-9-]*[a-z0-9])?$", var.subnetwork))
    error_message = "This is neither the name nor the self link of a subnetwork."
  }
}

variable "api_cidrs" {
  description = "The IPv4 networks from which operators and automation reach the daemon, port 50051. The whole world is refused."
  type        = list(string)

  validation {
    condition     = length(var.api_cidrs) > 0 && alltrue([for cidr in var.api_cidrs : can(cidrnetmask(cidr)) && !can(regex("/0$", cidr))])
    error_message = "Give networks as \"192.0.2.0/24\", and not 0.0.0.0/0: whoever has no certificate has no business there."
  }
}

variable "ssh_cidrs" {
  description = "The IPv4 networks from which users reach sshd, port 22, on the way to their containers. Users who may be anywhere need 0.0.0.0/0, written out."
  type        = list(string)

  validation {
    condition     = length(var.ssh_cidrs) > 0 && alltrue([for cidr in var.ssh_cidrs : can(cidrnetmask(cidr))])
    error_message = "Give networks as \"192.0.2.0/24\"."
  }
}

variable "package_url" {
  description = "Where the servers get the containarium .deb, for the architecture of the machine type."
  type        = string

  validation {
    condition     = can(regex("^https://[^\\s\"'\\\\]+\\.deb$", var.package_url))
    error_message = "This is not the https URL of a .deb."
  }
}

variable "package_sha256" {
  description = "The SHA-256 of that file; the servers install no other one."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.package_sha256))
    error_message = "A SHA-256 has 64 digits, 0 to 9 and a to f: sha256sum prints it."
  }
}

variable "admin" {
  description = "The name in the certificate of the administrator, which is made on each server."
  type        = string
  default     = "admin"

  validation {
    condition     = can(regex("^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?$", var.admin)) && !contains(var.names, var.admin)
    error_message = "Use letters, digits, dots and dashes, 63 at most, and not the name of a server."
  }
}

variable "domain" {
  description = "The domain under which clients know the servers, if any: NAME.DOMAIN is in each certificate, beside the address."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*)?$", var.domain))
    error_message = "This is not a domain, as \"example.org\"."
  }
}

variable "machine_type" {
  description = "The machine type of each server."
  type        = string
  default     = "e2-standard-4"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)+$", var.machine_type))
    error_message = "This is not a machine type, as \"e2-standard-4\"."
  }
}

variable "image" {
  description = "The image of each server: Debian 12 or Ubuntu 24.04, which the startup script knows."
  type        = string
  default     = "debian-cloud/debian-12"

  validation {
    condition     = can(regex("(debian-12|ubuntu(-[a-z]+)*-2404)", var.image))
    error_message = "The startup script knows Debian 12 and Ubuntu 24.04: \"debian-cloud/debian-12\", \"ubuntu-os-cloud/ubuntu-2404-lts-amd64\"."
  }
}

variable "boot_disk_gb" {
  description = "The size of the boot disk in GB."
  type        = number
  default     = 20

  validation {
    condition     = var.boot_disk_gb >= 10 && var.boot_disk_gb <= 65536 && floor(var.boot_disk_gb) == var.boot_disk_gb
    error_message = "A boot disk has 10 to 65536 GB, a whole number."
  }
}

variable "data_disk_gb" {
  description = "The size in GB of the disk for the containers."
  type        = number
  default     = 200

  validation {
    condition     = var.data_disk_gb >= 10 && var.data_disk_gb <= 65536 && floor(var.data_disk_gb) == var.data_disk_gb
    error_message = "A data disk has 10 to 65536 GB, a whole number."
  }
}

variable "disk_type" {
  description = "The type of both disks."
  type        = string
  default     = "pd-balanced"

  validation {
    condition     = contains(["pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced"], var.disk_type)
    error_message = "Use pd-standard, pd-balanced, pd-ssd or hyperdisk-balanced."
  }
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the servers: the CA of each is on its boot disk."
  type        = bool
  default     = true
}
