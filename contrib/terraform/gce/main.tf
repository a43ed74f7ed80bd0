locals {
  region = regex("^(.+)-[a-z]$", var.zone)[0]
  # /dev/disk/by-id/google-NAME on the server.
  data_device = "containarium"

  # What "containarium init --preseed" takes; JSON's strings and lists are TOML's.
  preseed = {
    for name in var.names : name => <<-END
      name = ${jsonencode(name)}
      admin = ${jsonencode(var.admin)}
      san = ${jsonencode(compact([google_compute_address.server[name].address, var.domain == "" ? "" : "${name}.${var.domain}"]))}
    END
  }
}

# It has no roles: whoever gets its token on a server can ask who it is, and nothing
# else. It is what the firewall knows the servers by.
resource "google_service_account" "server" {
  project      = var.project
  account_id   = var.fleet
  display_name = "Containarium jump servers"
}

resource "google_compute_address" "server" {
  for_each = var.names

  project = var.project
  region  = local.region
  name    = "${var.fleet}-${each.key}"
}

resource "google_compute_firewall" "api" {
  project     = var.project
  network     = var.network
  name        = "${var.fleet}-api"
  description = "Operators and automation to the daemon, by TLS with client certificates"

  source_ranges           = var.api_cidrs
  target_service_accounts = [google_service_account.server.email]

  allow {
    protocol = "tcp"
    ports    = ["50051"]
  }
}

resource "google_compute_firewall" "ssh" {
  project     = var.project
  network     = var.network
  name        = "${var.fleet}-ssh"
  description = "Users to sshd, on the way to their containers, and administrators"

  source_ranges           = var.ssh_cidrs
  target_service_accounts = [google_service_account.server.email]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

# Of its own, so that it outlives a server that is replaced.
resource "google_compute_disk" "data" {
  for_each = var.names

  project = var.project
  zone    = var.zone
  name    = "${var.fleet}-${each.key}-data"
  type    = var.disk_type
  size    = var.data_disk_gb
}

resource "google_compute_instance" "server" {
  for_each = var.names

  project             = var.project
  zone                = var.zone
  name                = each.key
  machine_type        = var.machine_type
  deletion_protection = var.deletion_protection
  # Another machine type is taken by a restart.
  allow_stopping_for_update = true

  boot_disk {
    initialize_params {
      image = var.image
      size  = var.boot_disk_gb
      type  = var.disk_type
    }
  }

  attached_disk {
    source      = google_compute_disk.data[each.key].id
    device_name = local.data_device
  }

  network_interface {
    network    = var.network
    subnetwork = var.subnetwork

    access_config {
      nat_ip = google_compute_address.server[each.key].address
    }
  }

  # As metadata, not as metadata_startup_script: that one would replace the server,
  # and with it the CA, whenever the script changes. It runs at each boot, and
  # changes nothing where all is done.
  metadata = {
    startup-script              = file("${path.module}/../../cloud/bootstrap.sh")
    containarium-package        = var.package_url
    containarium-package-sha256 = var.package_sha256
    containarium-data-disk      = "/dev/disk/by-id/google-${local.data_device}"
    containarium-preseed        = local.preseed[each.key]

    # Administrators log in by IAM. Keys in metadata would make accounts beside the
    # daemon's, for whoever may edit the project.
    enable-oslogin         = "TRUE"
    block-project-ssh-keys = "TRUE"
    serial-port-enable     = "FALSE"
  }

  service_account {
    email  = google_service_account.server.email
    scopes = ["userinfo-email"]
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  lifecycle {
    # A newer image of the family is no reason to replace a server.
    ignore_changes = [boot_disk[0].initialize_params[0].image]
  }
}
