# Two jump servers in a network of their own. It needs the ID of your project:
#
#   terraform init
#   terraform apply -var project=my-project-123456

terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 5.0, < 8.0"
    }
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

resource "google_compute_network" "jump" {
  project                 = var.project
  name                    = "containarium"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "jump" {
  project       = var.project
  region        = "europe-west3"
  network       = google_compute_network.jump.id
  name          = "containarium"
  ip_cidr_range = "10.20.0.0/24"
}

module "jump_servers" {
  source = "../"

  project    = var.project
  zone       = "europe-west3-a"
  network    = google_compute_network.jump.id
  subnetwork = google_compute_subnetwork.jump.id
  names      = ["jump-1", "jump-2"]
  domain     = "example.org"

  # The office, and whoever has an account.
  api_cidrs = ["192.0.2.0/24"]
  ssh_cidrs = ["192.0.2.0/24", "198.51.100.0/24"]

  package_url    = "https://downloads.example.org/containarium_1.0.0_amd64.deb"
  package_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
}

output "servers" {
  description = "What clients dial, HOST:PORT, by name."
  value       = module.jump_servers.servers
}
